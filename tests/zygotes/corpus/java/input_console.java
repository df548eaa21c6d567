//: modes = ["terminal"]
//: talk = [["Password: ", "secret\n"]]
public class Main {
    public static void main(String[] args) {
        System.out.println(System.console().readPassword("Password: ").length);
    }
}
