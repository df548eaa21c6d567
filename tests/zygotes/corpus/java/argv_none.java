public class Main {
    public static void main(String... args) {
        System.out.println(args.length + " " + System.getProperty("sun.java.command") + " " + new String[0].length);
    }
}
