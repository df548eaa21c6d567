//: differs = true
import java.util.*;

public class Main {
    public static void main(String[] args) {
        List<Integer> numbers = new ArrayList<>();
        for (int i = 0; i < 200; i++) numbers.add(i);
        Collections.shuffle(numbers);
        System.out.println(numbers);
    }
}
