import java.util.*;

public class Main {
    public static void main(String[] args) {
        List list = new ArrayList();
        list.add(new Integer(3));
        System.out.println(list);
        Thread.currentThread().stop();
    }
}
