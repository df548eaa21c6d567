//: modes = ["terminal", "split", "pipes"]
public class Main {
    static int divide(int a, int b) { return a / b; }
    static void outer() {
        try {
            divide(1, 0);
        } catch (ArithmeticException problem) {
            throw new IllegalStateException("outer", problem);
        }
    }
    public static void main(String[] args) {
        System.out.println("before");
        outer();
    }
}
