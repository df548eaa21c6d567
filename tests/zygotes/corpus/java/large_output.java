public class Main {
    public static void main(String[] args) {
        for (int i = 0; i < 3000; i++) System.out.println("line " + i + " of a long text");
        System.err.println("done");
    }
}
