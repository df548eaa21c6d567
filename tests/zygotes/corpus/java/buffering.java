//: modes = ["terminal", "split", "pipes"]
public class Main {
    public static void main(String[] args) {
        System.out.println("a line");
        System.out.print("no line");
        System.err.print("error part");
        Runtime.getRuntime().halt(3);
    }
}
