public class Main {
    public static void main(String[] args) {
        String größe = "ünïcödé ☃ 𝄞";
        System.out.println(größe + größe.length());
        int ungültig = größe;
    }
}
