import com.example.Nothing;

public class Main {
    public static void main(String[] args) { System.out.println(new Nothing()); }
}
