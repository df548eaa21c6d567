public class Main {
    static int value = Integer.parseInt("x");
    public static void main(String[] args) { System.out.println("never"); }
}
