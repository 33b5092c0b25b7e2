// The devices, for tests of what is made of operations. Races are looked for in the operations' own tests: that takes
// more than half of a virtual GPU's time.
process.env.CARACAL_VGPU_CHECK ??= "initcheck";
const { allDevices, cuda, devices } = await import("./devices.js");

/** One of either backend. */
const backends = allDevices.slice(devices.length - 1);

export { allDevices, backends, cuda, devices };
