import util.Helper;

public class Main {
    public static void main(String[] args) {
        System.out.println(Helper.greet("files") + " " + new Other().name());
    }
}
