import java.util.*;

public class Main {
    public static void main(String[] args) throws Exception {
        Thread main = Thread.currentThread();
        System.out.println(main + " " + main.getId() + " " + main.isDaemon() + " " + main.getContextClassLoader().getClass());
        System.out.println(new TreeSet<>(Thread.getAllStackTraces().keySet().stream().map(Thread::getName).toList()));
        System.out.println(Arrays.toString(main.getStackTrace()));
        Thread worker = new Thread(() -> System.out.println("in " + Thread.currentThread().getName()));
        worker.start();
        worker.join();
        System.out.println(Thread.activeCount() + " " + main.getThreadGroup() + " " + StackWalker.getInstance().walk(s -> s.count()));
    }
}
