/* From disk a browser starts no Worker, and the site's search needs one: a hidden frame does its work. Found by
   Material's `offline` plugin under the name iframe-worker, so that it asks no network for one. */
if (location.protocol === "file:")
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const inner = (this.inner = frame.contentWindow);
      const add = (source) =>
        new Promise((loaded) => {
          const script = inner.document.createElement("script");
          script.src = source;
          script.onload = loaded;
          inner.document.body.append(script);
        });
      this.send = inner.postMessage.bind(inner);
      inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      inner.importScripts = (...sources) => sources.reduce((before, each) => before.then(() => add(each)), Promise.resolve());
      this.ready = add(url);
    }
    postMessage(data) {
      this.ready.then(() => this.send(data, "*"));
    }
    terminate() {
      this.inner.frameElement.remove();
    }
  };
