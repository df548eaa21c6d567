//: env = { TZ = "Asia/Tokyo", FORCE_COLOR = "3", COLORTERM = "truecolor" }
console.log(new Date(0).toString(), Intl.DateTimeFormat().resolvedOptions().timeZone, process.stdout.getColorDepth?.());
console.log({ coloured: 1 });
