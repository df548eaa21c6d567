public class Wrong {
    public static void main(String[] args) {}
}
