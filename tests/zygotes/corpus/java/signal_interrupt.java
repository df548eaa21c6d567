//: modes = ["terminal", "split", "pipes"]
//: talk = [["ready", "\u0003"]]
public class Main {
    public static void main(String[] args) throws Exception {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook")));
        System.out.println("ready");
        Thread.sleep(60000);
    }
}
