// Bundles the command and the library into dist/. Does nothing when dist/ is newer than everything it is made from.
import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const dist = join(root, 'dist')
const marker = join(dist, '.built')

/** Newest change below `path`, folders included: a file taken away changes its folder. */
function newestChange(path) {
  const info = statSync(path)
  if (!info.isDirectory()) return info.mtimeMs
  return readdirSync(path).reduce((newest, name) => Math.max(newest, newestChange(join(path, name))), info.mtimeMs)
}

function isUpToDate() {
  if (!existsSync(marker)) return false
  const built = statSync(marker).mtimeMs
  return ['src', 'scripts/build.mjs', 'scripts/build', 'package-lock.json'].every(
    (path) => newestChange(join(root, path)) < built,
  )
}

/** What can be shared by both bundles: readable output, no minifying, so that a stack trace names the function. */
const common = { bundle: true, format: 'esm', target: 'es2022', logLevel: 'warning', legalComments: 'none', absWorkingDir: root }

/**
 * Everything in one file, because resolving and reading hundreds of modules is most of the start-up time of a command. The file is
 * one function expression for scripts/build/launcher.mjs to call: V8 keeps compiled code for scripts only, not for modules.
 */
const command = {
  ...common,
  entryPoints: ['src/cli/worldswitch.ts'],
  outfile: 'dist/cli/command.cjs',
  format: 'cjs',
  platform: 'node',
  target: 'node20',
  define: { 'import.meta.url': '__importMetaUrl' },
  banner: { js: "(function (require, __filename) { const __importMetaUrl = require('node:url').pathToFileURL(__filename).href;" },
  footer: { js: '})' },
}

/** `platform: neutral` makes an import of a Node module an error: this bundle has to run in a browser too. */
const library = {
  ...common,
  entryPoints: ['src/index.ts'],
  outfile: 'dist/index.js',
  platform: 'neutral',
  mainFields: ['module', 'main'],
}

/** Runs the command once for its compiled code. Without that code it starts slower and is otherwise the same. */
function makeCodeCache() {
  const file = join(root, command.outfile)
  rmSync(`${file}.cache`, { force: true })
  const args = ['scripts/build/code-cache.mjs', file, 'exec', '--', 'bench/programs/hello']
  spawnSync(process.execPath, args, { cwd: root, stdio: 'ignore', timeout: 20_000 })
}

async function main() {
  if (!process.argv.includes('--force') && isUpToDate()) return
  const started = Date.now()
  const { build } = await import('esbuild')
  rmSync(marker, { force: true })
  const bundles = [command, library].filter((bundle) => existsSync(join(root, bundle.entryPoints[0])))
  const results = await Promise.allSettled(bundles.map((bundle) => build(bundle)))
  // esbuild has printed what is wrong, and where.
  if (results.some(({ status }) => status === 'rejected')) process.exit(1)
  // The decoder is handed iced's compiled .wasm by whoever starts a machine; it lies beside each bundle.
  const wasm = createRequire(import.meta.url).resolve('iced-x86/iced_x86_bg.wasm')
  for (const folder of [dist, join(dist, 'cli')]) {
    mkdirSync(folder, { recursive: true })
    copyFileSync(wasm, join(folder, 'iced_x86_bg.wasm'))
  }
  copyFileSync(join(root, 'scripts/build/launcher.mjs'), join(dist, 'cli/worldswitch.js'))
  // `doctor` runs it natively, and as a program of the modelled host.
  copyFileSync(join(root, 'src/cli/doctor/probe.elf'), join(dist, 'cli/doctor-probe.elf'))
  for (const program of ['cli/worldswitch.js', 'cli/doctor-probe.elf']) chmodSync(join(dist, program), 0o755)
  makeCodeCache()
  writeFileSync(marker, '')
  const names = bundles.map((bundle) => bundle.outfile).join(', ')
  process.stderr.write(`built ${names || 'nothing: no entry point exists yet'} in ${Date.now() - started} ms\n`)
}

await main()
