// The page: a photograph that is dropped, chosen, taken by the camera or shipped with the zoo is classified here.
(() => {
  "use strict";

  const facts = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const [drop, file, status, result, video] = ["drop", "file", "status", "result", "video"].map(at);
  let latest = 0;

  const show = (name, pixels, { probabilities, rates, planes }) => {
    const { size } = facts;
    const answer = zooDraw.ranked(probabilities, facts.labels);
    zooDraw.drawAnswer(at("answer"), answer);
    zooDraw.drawPixels(at("input"), size, (c, pixel) => pixels[pixel * 3 + c]);
    zooDraw.drawPlanes(at("planes"), planes, size, facts.captions);
    at("highest").textContent = zooDraw.drawRates(at("rates"), rates, facts.layers).toFixed(1);
    result.hidden = false;
    result.dataset.of = name;
    const told = answer.map(([label, probability]) => `${label} ${zooDraw.percent(probability)}`).join(", ");
    status.textContent = `${name}: ${told}`;
  };

  // `open` gives a bitmap; of several pictures in a row only the last is shown.
  const classify = async (name, open) => {
    latest += 1;
    const turn = latest;
    status.textContent = `${name}: looking at it …`;
    try {
      const bitmap = await open();
      const pixels = zooResize.fitBitmap(bitmap, facts.size, facts.tall_first);
      bitmap.close();
      const told = await zooNetwork.run(pixels, facts.size);
      if (turn === latest) show(name, pixels, told);
    } catch (error) {
      if (turn === latest) status.textContent = `${name} cannot be classified: ${error.message}`;
    }
  };

  // Upright as its EXIF orientation says, its levels as they are stored: a colour profile is not applied, as in Python.
  const decode = async (blob) => {
    try {
      return await createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none" });
    } catch {
      throw new Error("this browser reads no image from it; save it as JPEG, PNG or WebP");
    }
  };

  const classifyFile = (blob) => classify(blob.name, () => decode(blob));

  const classifyShipped = () => classify(facts.photograph, async () => decode(new Blob([await zooNetwork.unpack("photograph")])));

  // Dropping ----------------------------------------------------------------------------------------------------------

  const listenToDrops = () => {
    let depth = 0; // of elements inside the zone that the pointer has entered
    const enter = (by) => { depth += by; drop.classList.toggle("over", depth > 0); };
    document.addEventListener("dragover", (event) => event.preventDefault()); // else the browser leaves for the file
    drop.addEventListener("dragenter", () => enter(1));
    drop.addEventListener("dragleave", () => enter(-1));
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      enter(-depth);
      const [dropped] = event.dataTransfer.files;
      if (dropped) classifyFile(dropped);
      else status.textContent = "That was not a file; drop a photograph from a folder.";
    });
    document.addEventListener("paste", (event) => {
      const [pasted] = event.clipboardData.files;
      if (pasted) classifyFile(pasted);
    });
  };

  // The camera --------------------------------------------------------------------------------------------------------

  const REFUSED = {
    NotAllowedError: "the browser or you refused it",
    NotFoundError: "there is none",
    NotReadableError: "another program uses it",
  };
  const ELSEWHERE = "Some browsers allow no camera to a page that is opened from a file: run python -m http.server in this folder and open http://localhost:8000/demo.html.";

  const showCamera = (stream) => {
    video.srcObject = stream;
    for (const id of ["video", "take", "stop"]) at(id).hidden = !stream;
    at("camera").hidden = Boolean(stream);
  };

  const startCamera = async () => {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      showCamera(stream);
      await video.play();
      status.textContent = "The camera is on; its picture stays in this page.";
      at("take").focus();
    } catch (error) {
      status.textContent = `The camera cannot be used: ${REFUSED[error.name] || error.message}. ${location.protocol === "file:" ? ELSEWHERE : ""}`;
    }
  };

  const stopCamera = () => {
    for (const track of video.srcObject.getTracks()) track.stop();
    showCamera(null);
    status.textContent = "The camera is off.";
    at("camera").focus();
  };

  if (navigator.mediaDevices?.getUserMedia) {
    at("camera").hidden = false;
    at("camera").addEventListener("click", startCamera);
    at("take").addEventListener("click", () => classify("picture of the camera", () => createImageBitmap(video)));
    at("stop").addEventListener("click", stopCamera);
  } else {
    at("no-camera").hidden = false;
    at("no-camera").textContent = `This page has no access to a camera. ${ELSEWHERE}`;
  }

  listenToDrops();
  file.addEventListener("change", () => { if (file.files.length) classifyFile(file.files[0]); });
  at("shipped").addEventListener("click", classifyShipped);
  file.disabled = false;
  at("shipped").disabled = false;
})();
