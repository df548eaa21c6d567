console.log(typeof fetch, typeof WebSocket, typeof structuredClone, typeof navigator, navigator.hardwareConcurrency > 0, performance.now() > 0);
fetch("http://127.0.0.1:1/").catch((error) => console.log(error.message, error.cause.code));
