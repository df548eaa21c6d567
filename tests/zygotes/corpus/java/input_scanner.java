//: modes = ["terminal", "split", "pipes"]
//: talk = [["name? ", "Adx\u007fa\n"], ["age? ", "36\n"]]
import java.util.Scanner;

public class Main {
    public static void main(String[] args) {
        Scanner in = new Scanner(System.in);
        System.out.print("name? ");
        String name = in.nextLine();
        System.out.print("age? ");
        System.out.println(name + " " + in.nextInt());
    }
}
