//: modes = ["terminal", "split", "pipes"]
import java.io.*;
import java.nio.file.*;
import java.util.*;

public class Main {
    public static void main(String[] args) throws Exception {
        for (int fd = 0; fd < 64; fd++) {
            Path path = Path.of("/proc/self/fd/" + fd);
            if (Files.exists(path, LinkOption.NOFOLLOW_LINKS))
                System.out.println(fd + " " + Files.readSymbolicLink(path).toString().replaceAll("\\d{3,}", "N").replaceAll("pts/\\d", "pts/N"));
        }
        System.out.println(System.console() != null);
    }
}
