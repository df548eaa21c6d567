//: modes = ["terminal", "split", "pipes"]
//: env = { GREETING = "hällo wörld", EMPTY = "", TERM = "vt100", A = "=b=c", TZ = "Asia/Tokyo" }
import java.util.*;

public class Main {
    public static void main(String[] args) throws Exception {
        System.out.println(new TreeMap<>(System.getenv()));
        System.out.println(System.getenv("LD_PRELOAD") + " " + TimeZone.getDefault().getID());
        Process process = new ProcessBuilder("sh", "-c", "env | sort; ls /proc/self/fd | wc -l").redirectErrorStream(true).start();
        System.out.print(new String(process.getInputStream().readAllBytes()));
        System.out.println(process.waitFor());
    }
}
