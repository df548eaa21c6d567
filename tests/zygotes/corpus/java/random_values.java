//: differs = true
import java.util.*;

public class Main {
    public static void main(String[] args) {
        System.out.println(Math.random() + " " + new Random().nextLong() + " " + UUID.randomUUID());
    }
}
