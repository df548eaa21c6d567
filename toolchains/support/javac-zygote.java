import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.Writer;
import java.nio.charset.Charset;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Comparator;

/**
 * A Java compiler that has compiled before, and then waits for what a run brings. {@code java} compiles this file as well,
 * in the same JVM.
 *
 * <p>Descriptor 60 is a socket: one byte out says that it waits; one packet comes, the number of javac's arguments, the
 * arguments, and NAME=VALUE of variables, each with a NUL at its end; another byte says that it was taken. The socket's
 * end means that there is nothing to compile. Of the variables javac looks at none that a run may set.
 *
 * <p>Its own argument is the folder that classes will be written to, which it makes.
 */
class Compiler {
    /** Of one more each time: what it saves becomes less than what it takes. */
    private static final int ROUNDS = 2;

    /** What programs like to use; so much of javac, and of what it loads, is there already. */
    private static final String GOOD = """
        import java.util.*;
        import java.util.function.*;
        import java.util.stream.*;

        public class Main {
            record Point(int x, int y) {}
            enum Colour { RED, BLUE }
            interface Shape { double area(); }
            static class Circle implements Shape {
                private final double radius;
                Circle(double radius) { this.radius = radius; }
                @Override public double area() { return Math.PI * radius * radius; }
            }
            static <T extends Comparable<T>> T most(List<T> list) {
                T best = list.get(0);
                for (T each : list) if (each.compareTo(best) > 0) best = each;
                return best;
            }
            public static void main(String[] args) throws Exception {
                Scanner in = new Scanner(System.in);
                Map<String, List<Integer>> map = new TreeMap<>();
                int[] numbers = {3, 1, 2};
                for (int i = 0; i < numbers.length; i++) map.computeIfAbsent("k" + i, k -> new ArrayList<>()).add(numbers[i]);
                String text = args.length > 0 ? args[0] : "none";
                try {
                    switch (Colour.valueOf(text)) {
                        case RED -> System.out.println("red");
                        default -> System.out.printf("%s %d%n", text, numbers.length);
                    }
                } catch (IllegalArgumentException problem) {
                    System.err.println(problem.getMessage());
                } finally {
                    in.close();
                }
                Object thing = new Point(1, 2);
                if (thing instanceof Point point && point.x() == 1) System.out.println(point + " " + most(List.of(1, 2)));
                System.out.println(Arrays.stream(numbers).boxed().map(String::valueOf).collect(Collectors.joining(",")));
                Runnable run = () -> System.out.println(new Circle(2).area());
                new Thread(run).start();
            }
        }
        """;

    private static final String BAD = """
        public class Main {
            public static void main(String[] args) {
                int number = "text";
                undefined.call(number);
                String missing = null
            }
        }
        """;

    private static final String WRONG = """
        public class Main {
            public static void main(String[] args) {
                int number = "text";
                System.out.println(undefined + number.length());
            }
        }
        """;

    public static void main(String[] args) throws ReflectiveOperationException, IOException {
        Files.createDirectories(Path.of(args[0]));
        warm();
        var constructor = FileDescriptor.class.getDeclaredConstructor(int.class);
        constructor.setAccessible(true);
        FileDescriptor descriptor = constructor.newInstance(60);
        var in = new FileInputStream(descriptor);
        var out = new FileOutputStream(descriptor);
        byte[] packet = new byte[1 << 18];
        System.gc();
        out.write('1');
        int length = in.read(packet);
        if (length <= 0) Runtime.getRuntime().halt(0);
        out.write('1');
        in.close();
        String[] words = new String(packet, 0, length, Charset.forName(System.getProperty("sun.jnu.encoding"))).split("\0");
        String[] told = Arrays.copyOfRange(words, 1, 1 + Integer.parseInt(words[0]));
        // Those for the JVM are this JVM's already.
        System.exit(com.sun.tools.javac.Main.compile(
            Arrays.stream(told).filter(word -> !word.startsWith("-J")).toArray(String[]::new)));
    }

    private static void warm() throws IOException {
        Path folder = Files.createTempDirectory("warm");
        for (int round = 0; round < ROUNDS; round++) {
            for (String source : new String[] {WRONG, BAD, GOOD}) {
                Path file = Files.writeString(folder.resolve("Main.java"), source);
                com.sun.tools.javac.Main.compile(
                    new String[] {"-d", folder.resolve("classes").toString(), file.toString()},
                    new PrintWriter(Writer.nullWriter()));
            }
        }
        try (var paths = Files.walk(folder)) {
            for (Path path : paths.sorted(Comparator.reverseOrder()).toList()) Files.delete(path);
        }
    }
}
