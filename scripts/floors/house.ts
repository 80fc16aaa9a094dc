/**
 * The house as data: which folder of src/ may import from which. An import that points from a floor to one that stands on
 * it is a defect, whether it is of values or of types.
 */

/** Bottom first. A floor may import from itself and from every floor before it in this list. */
export const FLOORS = ['isa', 'machine', 'linux', 'kvm', 'vmm', 'tools', 'cli']

/** Data about kernel versions: knows the architecture's facts and nothing else; kernel code and what stands on it may ask. */
export const PROFILES = { folder: 'profiles', imports: ['isa'], importableFrom: 'linux' }

/** What the rules say, as text: for messages and documents. Code that behaves has no use for it. */
export const RULES = { folder: 'rules', imports: [] as string[], importableFrom: 'vmm' }

/** Folders of data beside the floors. */
export const BESIDE = [PROFILES, RULES]

/** src/index.ts gathers the public API. It stands above every floor but the command, which is Node's. */
export const INDEX = { file: 'index.ts', below: 'cli' }

/** Floors (and files) that may use Node: the command. Everything else runs in a browser too. */
export const NODE_FLOORS = ['cli']

/** Floors whose history must be a function of their inputs alone: no clock, no chance. */
export const DETERMINISTIC_FLOORS = ['isa', 'machine', 'linux', 'kvm', 'profiles', 'rules']

/** The one file outside src/ that the command reads when it is built: its version is the package's. */
export const PACKAGE_DESCRIPTION = '../package.json'

/** Folders of which another floor may see one file only. */
export const DOORS = [
  { from: 'kvm', folder: 'linux/fpu', door: 'linux/fpu/door.ts' },
  { from: 'kvm', folder: 'linux/splitlock', door: 'linux/splitlock/door.ts' },
]

/** Packages with a place of their own. Any other runtime dependency may be imported from everywhere. */
export const PACKAGE_PLACES: Record<string, string | undefined> = {
  // The package's JavaScript is CommonJS that reads a file when it is loaded.
  'iced-x86': 'machine/decoder/',
  commander: 'cli/',
}

/** Free names that only Node has. */
export const NODE_GLOBALS = ['process', 'Buffer', '__dirname', '__filename', 'require', 'setImmediate', 'global']

/** What reads the wall clock or draws a random number. */
export const NONDETERMINISTIC = ['Date.now', 'performance.now', 'Math.random', 'crypto.getRandomValues', 'crypto.randomUUID']
