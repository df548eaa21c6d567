import java.util.*;
import java.util.function.*;
import java.util.stream.*;

public class Main {
    enum Colour { RED, BLUE; Colour next() { return values()[(ordinal() + 1) % 2]; } }
    record Pair<A, B>(A first, B second) {}
    public static void main(String[] args) {
        Map<Boolean, List<Integer>> parts = IntStream.range(0, 10).boxed().collect(Collectors.partitioningBy(n -> n % 2 == 0));
        System.out.println(parts + " " + new Pair<>(1, "x") + " " + Colour.RED.next() + " " + Set.of(1));
        BiFunction<Integer, Integer, Integer> add = Integer::sum;
        System.out.printf("%d %.3f %s %08x%n", add.apply(2, 3), Math.E, Optional.empty(), 255);
        System.out.println(switch (Colour.BLUE) { case RED -> "r"; case BLUE -> """
            a text
              block""".indent(1); });
        Object thing = 5;
        if (thing instanceof Integer number && number > 4) System.out.println("matched " + number);
        System.out.println(IntStream.range(0, 1000).parallel().sum() + " " + "a,b".split(",").length);
    }
}
