console.log(new Intl.NumberFormat().format(1234.5), Intl.DateTimeFormat().resolvedOptions().timeZone, new Date(0).toString());
console.log("ünïcödé ☃ 𝄞", "ß".toLocaleUpperCase(), ["b", "ä", "a"].sort(new Intl.Collator().compare));
