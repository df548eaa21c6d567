//: modes = ["terminal", "split", "pipes"]
import java.util.*;

public class Main {
    public static void main(String[] args) {
        for (var entry : new TreeMap<>(System.getProperties()).entrySet()) System.out.println(entry);
    }
}
