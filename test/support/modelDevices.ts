// The devices for tests of modules that are built from operations. They run without racecheck, which takes more than
// half of the virtual GPU's time and is part of the operations' own tests.
process.env.CARACAL_VGPU_CHECK ??= "initcheck";
export const { allDevices, backends, cuda, devices } = await import("./devices.js");
