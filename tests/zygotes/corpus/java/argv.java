//: args = ["one", "two words", "", "--flag=ü", "-x", "*", "🂡"]
import java.util.Arrays;

public class Main {
    public static void main(String[] args) {
        System.out.println(args.length + " " + Arrays.toString(args) + " " + args.getClass());
        System.out.println(System.getProperty("sun.java.command"));
    }
}
