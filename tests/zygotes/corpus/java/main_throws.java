public class Main extends Thread {
    @Override public void run() { throw new Error("thrown in run"); }
    public static void main(String[] args) throws InterruptedException {
        Main thread = new Main();
        thread.setName("worker");
        thread.start();
        thread.join();
        System.out.println("main goes on");
    }
}
