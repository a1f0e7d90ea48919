// Search in pages that are opened from a folder. A browser starts no Worker from a file:// page, so
// this class runs the search script in a hidden frame instead and passes the messages on. The
// offline plugin of mkdocs-material writes the search index as a script for such pages.

class FrameWorker extends EventTarget {
  constructor(url) {
    super();
    this.frame = document.createElement("iframe");
    this.frame.hidden = true;
    document.body.appendChild(this.frame);
    const inside = this.frame.contentWindow;
    addEventListener("message", (event) => {
      if (event.source === inside)
        this.dispatchEvent(new MessageEvent("message", { data: event.data }));
    });
    inside.document.open();
    inside.document.write(
      `<html><body><script>
        postMessage = (message) => parent.postMessage(message, "*");
        importScripts = (...urls) => urls.reduce((before, url) => before.then(() =>
          new Promise((resolve) => {
            const script = document.createElement("script");
            script.src = url;
            script.onload = resolve;
            document.body.appendChild(script);
          })), Promise.resolve());
      <\/script><script src="${url}"><\/script></body></html>`
    );
    inside.document.close();
    this.loaded = new Promise((resolve) => (inside.onload = resolve));
  }

  postMessage(message) {
    this.loaded.then(() =>
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data: message }))
    );
  }

  terminate() {
    this.frame.remove();
  }
}

if (location.protocol === "file:") window.Worker = FrameWorker;
