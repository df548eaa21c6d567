//: modes = ["terminal", "split", "pipes"]
//: talk = [["go", "one\n"], ["got one", "two\n"], ["got two", "\u0004"]]
import java.io.*;

public class Main {
    public static void main(String[] args) throws IOException {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        System.out.println("go");
        for (String line; (line = in.readLine()) != null; ) System.out.println("got " + line);
        System.out.println("end " + System.in.available());
    }
}
