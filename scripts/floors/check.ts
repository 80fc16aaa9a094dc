import { builtinModules } from 'node:module'
import { posix } from 'node:path'
import { BESIDE, DETERMINISTIC_FLOORS, DOORS, FLOORS, INDEX, NODE_FLOORS, PACKAGE_DESCRIPTION, PACKAGE_PLACES } from './house.ts'
import { referencesOf } from './references.ts'

/** A place in src/ that the house does not allow. */
export interface Violation {
  path: string
  line: number
  because: string
}

/**
 * Checks every file of src/ against the house.
 *
 * @param files text by path below src/, with forward slashes
 * @param dependencies names of the packages the published package depends on
 */
export function checkFloors(files: ReadonlyMap<string, string>, dependencies: readonly string[]): Violation[] {
  return [...files].flatMap(([path, text]) => checkFile(path, text, dependencies))
}

function checkFile(path: string, text: string, dependencies: readonly string[]): Violation[] {
  const floor = floorOf(path)
  if (floor === undefined) return [{ path, line: 1, because: `src/${path} is on no floor of the house` }]
  const violations: Violation[] = []
  const report = (line: number, because: string | undefined) => {
    if (because) violations.push({ path, line, because })
  }
  const references = referencesOf(path, text)
  for (const { name, line } of references.imports)
    report(line, name.startsWith('.') ? refuseFile(path, floor, name) : refusePackage(path, floor, name, dependencies))
  if (!NODE_FLOORS.includes(floor))
    for (const { name, line } of references.nodeGlobals)
      report(line, `${floor} must run in a browser too and uses Node's ${name}`)
  if (DETERMINISTIC_FLOORS.includes(floor))
    for (const { name, line } of references.nondeterministic) report(line, `${floor} must be deterministic and reads ${name}`)
  return violations
}

/** The floor a path below src/ lies on; `index` for the public API; undefined for a folder the house does not have. */
function floorOf(path: string): string | undefined {
  if (path === INDEX.file) return 'index'
  const folder = path.slice(0, path.indexOf('/'))
  return FLOORS.includes(folder) || BESIDE.some((data) => data.folder === folder) ? folder : undefined
}

/** Why the file `specifier` may not be imported from `path`, or undefined. */
function refuseFile(path: string, floor: string, specifier: string): string | undefined {
  const target = posix.normalize(posix.join(posix.dirname(path), specifier))
  if (target === PACKAGE_DESCRIPTION && NODE_FLOORS.includes(floor)) return undefined
  if (target.startsWith('..')) return `imports ${specifier}, which is outside src/`
  const targetFloor = floorOf(target)
  if (targetFloor === undefined) return `imports src/${target}, which is on no floor of the house`
  if (targetFloor !== floor && !mayImport(floor, targetFloor))
    return `${floor} must not import from ${targetFloor}: src/${target}`
  const door = DOORS.find((d) => d.from === floor && target.startsWith(`${d.folder}/`) && target !== d.door)
  return door && `${floor} sees of src/${door.folder} only its door, ${posix.basename(door.door)}: src/${target}`
}

function mayImport(floor: string, target: string): boolean {
  if (floor === 'index') return target !== INDEX.below
  if (target === 'index') return false
  const from = BESIDE.find((data) => data.folder === floor)
  if (from !== undefined) return from.imports.includes(target)
  const to = BESIDE.find((data) => data.folder === target)
  if (to !== undefined) return FLOORS.indexOf(floor) >= FLOORS.indexOf(to.importableFrom)
  return FLOORS.indexOf(target) < FLOORS.indexOf(floor)
}

/** Why the package or Node module `specifier` may not be imported from `path`, or undefined. */
function refusePackage(path: string, floor: string, specifier: string, dependencies: readonly string[]): string | undefined {
  const isNode = specifier.startsWith('node:') || builtinModules.includes(specifier.split('/')[0])
  if (isNode) return NODE_FLOORS.includes(floor) ? undefined : `${floor} must run in a browser too and imports ${specifier}`
  const name = specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
  if (!dependencies.includes(name)) return `imports ${name}, which is not among package.json's dependencies`
  const place = PACKAGE_PLACES[name]
  return place && !path.startsWith(place) ? `${name} belongs to src/${place} and is imported here` : undefined
}
