public class Main {
    public static void main(String[] args) {
        new Thread(() -> {
            try {
                Thread.sleep(50);
            } catch (InterruptedException ignored) {
            }
            System.out.println("after main, " + Thread.currentThread().getName());
        }).start();
        Thread daemon = new Thread(() -> {
            while (true) Thread.onSpinWait();
        });
        daemon.setDaemon(true);
        System.out.println("main ends");
    }
}
