// Toolchains of the packed binaries, made from Debian's packages: GCC 12 with the C library of Debian 11 or with musl,
// and GCC's own C++ library built for that C library, which the addon links statically. An addon then needs no newer
// system than Debian 11, and no C++ library at all.
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join, relative } from "node:path";
import { command, fail } from "./steps.mjs";

/** The release of Debian whose C library is the oldest that the binaries run with. */
const oldestDebian = "bullseye";
const gcc = "12";
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

export const architectures = {
  x64: { debian: "amd64", triplet: "x86_64-linux-gnu", compiler: "", processor: "x86_64" },
  arm64: { debian: "arm64", triplet: "aarch64-linux-gnu", compiler: "aarch64-linux-gnu-", processor: "aarch64" },
};

/** The Debian packages that the toolchains and the tests of their binaries are made from. */
export const debianPackages = [
  ...["g++-12", "g++-12-aarch64-linux-gnu", "gcc-12-source", "musl-dev", "cmake", "make", "xz-utils"],
  ...["qemu-user"],
];

/**
 * Makes the toolchain in `folder`/`cpu`-`libc`. Its libraries are made once.
 * @returns the folder with its bin/c++, and the CMake toolchain file
 */
export function makeToolchain(folder, cpu, libc) {
  const at = join(folder, `${cpu}-${libc}`);
  const result = { folder: at, cmake: join(at, "toolchain.cmake"), sysroot: join(at, "sysroot") };
  const library = join(at, "libstdc++");
  if (!existsSync(join(library, "lib/libstdc++.a"))) rmSync(at, { recursive: true, force: true });
  requirePackages();
  mkdirSync(join(at, "bin"), { recursive: true });
  const target = { ...architectures[cpu], at, musl: libc === "musl" };
  if (target.musl) writeMuslSpecs(target);
  else if (!existsSync(result.sysroot)) unpackDebian(at, target.debian, ["libc6", "libc6-dev", "linux-libc-dev"]);
  if (!existsSync(library)) {
    writeCompilers(target, []);
    buildLibstdcxx(target, librarySources(folder));
  }
  const headers = join(library, "include/c++");
  writeCompilers(target, [
    ...["-nostdinc++", "-isystem", headers, "-isystem", join(headers, hostOf(target))],
    ...["-isystem", join(headers, "backward"), "-L", join(library, "lib"), "-static-libstdc++"],
  ]);
  writeFileSync(
    result.cmake,
    `set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR ${target.processor})
set(CMAKE_CXX_COMPILER ${join(at, "bin/c++")})
set(CMAKE_MODULE_LINKER_FLAGS_INIT "-s")
`,
  );
  return result;
}

function requirePackages() {
  const missing = debianPackages.filter((name) => command("dpkg", ["-s", name], { mayFail: true }) === undefined);
  if (missing.length > 0)
    fail(`packages of Debian 12 are missing. Install them with: apt-get install ${missing.join(" ")}`);
}

const hostOf = ({ triplet, musl }) => (musl ? triplet.replace("gnu", "musl") : triplet);

/** Unpacks packages of the oldest Debian below `at`/sysroot, from the archive that this machine uses. */
export function unpackDebian(at, architecture, names) {
  const state = join(at, "apt");
  for (const path of ["lists/partial", "cache/archives/partial"]) mkdirSync(join(state, path), { recursive: true });
  const [archive] = command("apt-get", ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"])
    .split("\n")
    .filter((uri) => /\/debian\/$/.test(uri));
  if (!archive) fail("apt knows no archive of Debian: the toolchains are made on Debian 12");
  writeFileSync(join(state, "status"), "");
  writeFileSync(join(state, "sources.list"), `deb [signed-by=${keyring}] ${archive} ${oldestDebian} main\n`);
  const settings = {
    "Dir::Etc::sourcelist": join(state, "sources.list"),
    "Dir::Etc::sourceparts": "-",
    "Dir::State": state,
    "Dir::State::lists": join(state, "lists"),
    "Dir::State::status": join(state, "status"),
    "Dir::Cache": join(state, "cache"),
    "APT::Architecture": architecture,
    "APT::Architectures": architecture,
    "APT::Sandbox::User": "root", // the account of apt cannot read this folder
    "Acquire::Retries": "3",
  };
  const options = Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  command("apt-get", [...options, "update"]);
  command("apt-get", [...options, "download", ...names], { cwd: state });
  const sysroot = join(at, "sysroot");
  for (const file of readdirSync(state).filter((name) => name.endsWith(".deb")))
    command("dpkg-deb", ["-x", join(state, file), sysroot]);
  makeLinksRelative(sysroot);
  rmSync(state, { recursive: true });
}

/** Absolute links of a package would lead out of the sysroot, to this machine's libraries. */
function makeLinksRelative(sysroot) {
  for (const entry of readdirSync(sysroot, { recursive: true, withFileTypes: true })) {
    if (!entry.isSymbolicLink()) continue;
    const path = join(entry.parentPath, entry.name);
    const to = readlinkSync(path);
    if (!to.startsWith("/")) continue;
    rmSync(path);
    symlinkSync(relative(dirname(path), join(sysroot, to)), path);
  }
}

/** Debian's musl has no C++: its options are those of musl-gcc, but exceptions need the shared libgcc. */
function writeMuslSpecs({ at, triplet }) {
  const musl = `/usr/lib/${triplet.replace("gnu", "musl")}`;
  const headers = `-nostdinc -isystem /usr/include/${triplet.replace("gnu", "musl")} -isystem include%s`;
  writeFileSync(
    join(at, "specs"),
    `%rename cpp_options old_cpp_options

*cpp_options:
${headers} %(old_cpp_options)

*cc1:
%(cc1_cpu) ${headers}

*link_libgcc:
-L${musl} -L .%s

*libgcc:
libgcc.a%s /lib/${triplet}/libgcc_s.so.1

*startfile:
%{!shared: ${musl}/Scrt1.o} ${musl}/crti.o crtbeginS.o%s

*endfile:
crtendS.o%s ${musl}/crtn.o

*link:
-dynamic-linker /lib/ld-musl-x86_64.so.1 -nostdlib --eh-frame-hdr %{shared:-shared} %{static:-static} %{rdynamic:-export-dynamic}

*esp_link:


*esp_options:


*esp_cpp_options:


`,
  );
}

/** Writes bin/cc and bin/c++, which add the options of the target, those of its C++ library first. */
function writeCompilers({ at, triplet, compiler, musl }, cxxOptions) {
  // The linker sees this machine's libgcc_s.so.1, which needs a newer C library than the one that it will meet.
  const options = ["-Wl,--allow-shlib-undefined", ...(musl ? muslOptions(at) : glibcOptions(at, triplet, compiler))];
  for (const [name, own] of [
    ["gcc", []],
    ["g++", cxxOptions],
  ]) {
    const file = join(at, "bin", name === "gcc" ? "cc" : "c++");
    const program = `${compiler}${name}-${gcc}`;
    writeFileSync(file, `#!/bin/sh\nexec ${[program, ...own, ...options].join(" ")} "$@"\n`, { mode: 0o755 });
  }
}

const muslOptions = (at) => ["-specs", join(at, "specs")];

function glibcOptions(at, triplet, compiler) {
  const sysroot = join(at, "sysroot");
  const own = command(`${compiler}gcc-${gcc}`, ["-print-file-name=include"]).trim();
  const headers = [own, join(sysroot, "usr/include", triplet), join(sysroot, "usr/include")];
  const libraries = ["usr/lib", "lib"].map((path) => join(sysroot, path, triplet));
  return [
    ...[`--sysroot=${sysroot}`, "-nostdinc", ...headers.map((path) => `-isystem ${path}`)],
    ...libraries.flatMap((path) => [`-B${path}`, `-L${path}`]),
  ];
}

/** Unpacks the sources of GCC's C++ library. */
function librarySources(folder) {
  const at = join(folder, "gcc");
  if (existsSync(join(at, "mkinstalldirs"))) return at;
  mkdirSync(at, { recursive: true });
  const source = `/usr/src/gcc-${gcc}`;
  const [archive] = readdirSync(source).filter((name) => name.startsWith(`gcc-${gcc}`) && name.endsWith(".tar.xz"));
  const parts = ["libstdc++-v3", "config", "libgcc", "include", "libiberty", "gcc", "contrib"].map(
    (part) => `*/${part}`,
  );
  const files = [
    "*/config*",
    "*/install-sh",
    "*/missing",
    "*/depcomp",
    "*/mkinstalldirs",
    "*/ltmain.sh",
    "*/move-if-change",
  ];
  const exclude = ["--exclude=*/gcc/testsuite", "--exclude=*/gcc/ada", "--exclude=*/testsuite/*_*"];
  command(
    "tar",
    ["-xf", join(source, archive), "-C", at, "--strip-components=1", ...exclude, "--wildcards", ...parts, ...files],
    { mayFail: true },
  );
  // What the build of all of GCC would provide.
  copyFileSync(join(at, "libgcc/gthr-posix.h"), join(at, "libgcc/gthr-default.h"));
  writeFileSync(join(at, "mkinstalldirs"), '#!/bin/sh\nexec mkdir -p "$@"\n', { mode: 0o755 });
  return at;
}

function buildLibstdcxx(target, sources) {
  const { at } = target;
  const build = join(at, "build");
  mkdirSync(build);
  const host = hostOf(target);
  const flags = `-O2 -fPIC -ffile-prefix-map=${sources}=gcc`; // assertions would show where it was built
  const options = [
    `--host=${host}`,
    ...[
      "--build=x86_64-linux-gnu",
      `--prefix=${join(at, "libstdc++")}`,
      `--with-gxx-include-dir=${join(at, "libstdc++/include/c++")}`,
    ],
    ...["--disable-shared", "--enable-static", "--disable-multilib", "--disable-nls"],
    ...["--disable-libstdcxx-pch", "--disable-libstdcxx-filesystem-ts"],
    ...[`CC=${join(at, "bin/cc")}`, `CXX=${join(at, "bin/c++")}`, `CFLAGS=${flags}`, `CXXFLAGS=${flags}`],
  ];
  command(join(sources, "libstdc++-v3/configure"), options, { cwd: build });
  command("make", [`-j${availableParallelism()}`, "install"], { cwd: build });
  rmSync(build, { recursive: true });
}
