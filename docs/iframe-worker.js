/* The search runs in a worker, which browsers refuse to pages from the disk: there a hidden frame stands in for it.
   The search's script looks for the name IFrameWorker and loads its languages relative to itself then. */
(() => {
  if (location.protocol !== "file:") return;

  class IFrameWorker extends EventTarget {
    constructor(url) {
      super();
      this.onmessage = this.onerror = null;
      this.waiting = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.appendChild(this.frame);

      const inside = this.frame.contentWindow;
      inside.document.open();
      inside.document.write("<!doctype html><html><head></head><body></body></html>");
      inside.document.close();
      const load = source => new Promise((done, failed) => {
        const script = inside.document.createElement("script");
        Object.assign(script, { src: source, onload: done, onerror: failed, async: false });
        inside.document.body.appendChild(script);
      });
      inside.importScripts = (...sources) => sources.reduce((before, source) => before.then(() => load(source)), Promise.resolve());
      inside.postMessage = data => this.give(new MessageEvent("message", { data }));
      load(new URL(url, location.href).href).then(() => {
        for (const data of this.waiting.splice(0)) this.send(data);
        this.waiting = null;
      });
    }

    give(event) {
      if (this.onmessage) this.onmessage(event);
      this.dispatchEvent(event);
    }

    send(data) {
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }));
    }

    postMessage(data) {
      if (this.waiting) this.waiting.push(data); else this.send(data);
    }

    terminate() {
      this.frame.remove();
    }
  }
  window.IFrameWorker = window.Worker = IFrameWorker;
})();
