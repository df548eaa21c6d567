public class Main {
    @Deprecated static void old() {}
    static <T> T[] several(T... all) { return all; }
    public static void main(String[] args) {
        old();
        System.out.println(several(1, 2).length);
    }
}
