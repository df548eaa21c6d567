import java.time.*;
import java.time.format.*;
import java.util.*;

public class Main {
    public static void main(String[] args) {
        System.out.println(Locale.getDefault() + " " + TimeZone.getDefault().getID() + " " + java.nio.charset.Charset.defaultCharset());
        System.out.println(LocalDate.of(2020, 2, 29).format(DateTimeFormatter.ofLocalizedDate(FormatStyle.FULL)));
        System.out.println(String.format("%,d %s", 1234567, "ß".toUpperCase()) + " " + System.lineSeparator().length());
    }
}
