public class Main {
    public static void main(String[] args) throws InterruptedException {
        Thread.setDefaultUncaughtExceptionHandler((thread, problem) -> System.out.println(thread.getName() + " " + problem));
        Thread worker = new Thread(() -> { throw new RuntimeException("in a thread"); });
        worker.start();
        worker.join();
        throw new RuntimeException("in main");
    }
}
