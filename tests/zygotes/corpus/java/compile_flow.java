public class Main {
    sealed interface Shape permits Round, Flat {}
    record Round() implements Shape {}
    record Flat() implements Shape {}
    static int find(boolean what) {
        final int value;
        if (what) value = 1;
        return value;
    }
    static int nothing() { while (true) {} }
    static void caught() { try { } catch (java.io.IOException problem) { } }
    public static void main(String[] args) { return; System.out.println(); }
}
