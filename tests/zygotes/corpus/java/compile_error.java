//: modes = ["terminal", "split", "pipes"]
public class Main {
    public static void main(String[] args) {
        int number = "text";
        System.out.println(undefined);
        String other = missing("x");
    }
}
