public class Main {
    public static void main(String[] args) {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("never")));
        System.err.println("halting");
        Runtime.getRuntime().halt(-3);
    }
}
