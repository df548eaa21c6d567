public class Main {
    record Resource(String name) implements AutoCloseable {
        @Override public void close() { throw new IllegalArgumentException("closing " + name); }
    }
    public static void main(String[] args) throws Exception {
        try (Resource one = new Resource("one"); Resource two = new Resource("two")) {
            throw new Exception("in the block");
        }
    }
}
