public class Main {
    public static void main(String[] args) throws Exception {
        System.out.println("then");
        new ProcessBuilder("sh", "-c", "kill -TERM $PPID").start();
        Thread.sleep(60000);
    }
}
