// `node --expose-gc --import` this: V8 collects what nobody holds any more soon, and not when it pleases.
setInterval(globalThis.gc, 100).unref()
