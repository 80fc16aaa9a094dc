import { buildCpuModel, CpuModelInconsistency } from './build-cpu-model.ts'
import type { CpuModel, CpuModelFacts } from './cpu-model.ts'
import { cpuModelFacts } from './cpu-models/index.ts'
import { type Feature, type FeatureName, featureAliases, features, findFeature, runtimeFeatures } from './cpuid-features.ts'
import { basesOf, withDependents } from './feature-dependencies.ts'
import { nearestNames, suggestion, UserError } from './user-error.ts'

/**
 * QEMU's `-cpu` grammar: MODEL[,+feature][,-feature][,feature[=on|off]][,property=value]...
 *
 * As there: `_` may stand for `-`; a bare feature name means on; all `feature=on|off` are applied first in order, then all
 * `+feature`, then all `-feature`, so that `-` wins. Taking a feature takes what depends on it and its state components.
 * Unlike QEMU, a wish that cannot be met is an error and not a warning.
 */

export interface CpuModelSummary {
  readonly name: string
  readonly vendor: string
  readonly brand: string
  readonly source: string
  readonly hasRealDump: boolean
}

/** Names and origins of all models, in the order in which `--cpu help` shows them. */
export function listCpuModels(): CpuModelSummary[] {
  return cpuModelFacts.map(({ name, vendor, brand, source, hasRealDump }) => ({ name, vendor, brand, source, hasRealDump }))
}

const built = new Map<string, CpuModel>()

/** The unmodified model called `name`. Throws `UserError` `unknown-cpu-model`. */
export function cpuModel(name: string): CpuModel {
  const known = built.get(name)
  if (known !== undefined) return known
  const model = buildCpuModel(factsOf(name))
  built.set(name, model)
  return model
}

/** The model that a `-cpu` text describes. Throws `UserError` with codes `unknown-cpu-model`, `unknown-cpu-feature`, ... */
export function parseCpuSpec(text: string): CpuModel {
  const spec = text.trim()
  const [name, ...items] = spec.split(',')
  const wishes = readItems(spec, items)
  if (items.length === 0) return cpuModel(name)
  return customise(factsOf(name), wishes, spec)
}

/** Models of real chips that have `feature`, for the message about an unsupported instruction. */
export function cpuModelsWith(feature: FeatureName): string[] {
  return cpuModelFacts.filter((f) => !f.syntheticXstate && cpuModel(f.name).has(feature)).map((f) => f.name)
}

function factsOf(name: string): CpuModelFacts {
  const facts = cpuModelFacts.find((f) => f.name === name)
  if (facts !== undefined) return facts
  const nearest = nearestNames(
    name,
    cpuModelFacts.map((f) => f.name),
  )
  throw new UserError({
    code: 'unknown-cpu-model',
    what: `unknown CPU model '${name}'`,
    where: '--cpu',
    because: 'no such model',
    fix: suggestion(nearest, `known models: ${cpuModelFacts.map((f) => f.name).join(', ')}`),
    nearest,
  })
}

interface Wishes {
  readonly on: Set<FeatureName>
  readonly off: Set<FeatureName>
  readonly properties: Partial<CpuModelFacts>
  readonly physBits: number | undefined
}

function readItems(spec: string, items: readonly string[]): Wishes {
  const assigned: [FeatureName, boolean][] = []
  const plus: [FeatureName, boolean][] = []
  const minus: [FeatureName, boolean][] = []
  let properties: Partial<CpuModelFacts> = {}
  let physBits: number | undefined
  for (const raw of items) {
    const item = raw.trim()
    const sign = item[0]
    if (item === '') throw badItem(spec, raw, 'empty item', "remove the extra ','")
    if (sign === '+' || sign === '-') {
      const list = sign === '+' ? plus : minus
      list.push([featureNamed(item.slice(1), spec), sign === '+'])
      continue
    }
    const equals = item.indexOf('=')
    const key = (equals < 0 ? item : item.slice(0, equals)).replaceAll('_', '-')
    const value = equals < 0 ? 'on' : item.slice(equals + 1)
    const property = PROPERTIES.get(key)
    if (property === undefined) assigned.push([featureNamed(key, spec), onOrOff(value, item, spec)])
    else if (key === 'phys-bits') physBits = property.read(value, item, spec) as number
    else properties = { ...properties, ...property.apply(property.read(value, item, spec)) }
  }
  const state = new Map<FeatureName, boolean>()
  for (const [feature, value] of [...assigned, ...plus, ...minus]) state.set(feature, value)
  const on = new Set<FeatureName>()
  const off = new Set<FeatureName>()
  for (const [feature, value] of state) (value ? on : off).add(feature)
  return { on, off, properties, physBits }
}

function customise(facts: CpuModelFacts, wishes: Wishes, spec: string): CpuModel {
  const base = cpuModel(facts.name)
  const removed = withDependents(wishes.off)
  const will = (name: FeatureName): boolean => wishes.on.has(name) || (base.has(name) && !removed.has(name))
  for (const name of wishes.on) {
    const lost = basesOf(name).find((b) => !will(b))
    if (lost === undefined) continue
    const because = removed.has(lost)
      ? `${name} needs ${lost}, which is taken away`
      : `${name} needs ${lost}, which ${facts.name} lacks`
    throw new UserError({
      code: 'cpu-feature-needs-another',
      what: `cannot add '${name}'`,
      where: `--cpu ${spec}`,
      because,
      fix: removed.has(lost) ? `drop -${lost} or +${name}` : `add +${lost} too`,
      nearest: [lost],
    })
  }
  const on = [...wishes.on].filter((f) => !base.has(f))
  const off = [...removed].filter((f) => base.has(f) && !wishes.on.has(f))
  const rows = wishes.physBits === undefined ? facts.rows : withPhysBits(facts, wishes.physBits)
  const changed: CpuModelFacts = {
    ...facts,
    ...wishes.properties,
    rows,
    adjustments: [...facts.adjustments, { on, off, source: `-cpu ${spec}` }],
  }
  try {
    return buildCpuModel(changed, spec)
  } catch (error) {
    if (!(error instanceof CpuModelInconsistency)) throw error
    throw new UserError({
      code: 'cpu-feature-without-state',
      what: `cannot add ${on.map((f) => `'${f}'`).join(', ')} to ${facts.name}`,
      where: `--cpu ${spec}`,
      because: `no ${facts.vendor} chip shows where its state components lie (${error.message})`,
      fix: `use a model that has it: ${cpuModelsWithAll(on).join(', ') || 'none does'}`,
    })
  }
}

const cpuModelsWithAll = (names: readonly FeatureName[]): string[] =>
  cpuModelFacts.map((f) => f.name).filter((n) => names.every((f) => cpuModel(n).has(f)))

const withPhysBits = (facts: CpuModelFacts, bits: number): CpuModelFacts['rows'] =>
  facts.rows.map((r) => (r.leaf === 0x80000008 ? { ...r, eax: ((r.eax & ~0xff) | bits) >>> 0 } : r))

/** Flags QEMU has and no model of ours can carry. */
const NOT_MODELLED: readonly { readonly pattern: RegExp; readonly because: string }[] = [
  { pattern: /^kvm/, because: 'it describes what a hypervisor offers its guest, not the chip' },
  { pattern: /^vmx-/, because: 'VMX controls are not chosen one by one; vmx itself can be taken away' },
  { pattern: /^sgx/, because: 'SGX is not modelled' },
  { pattern: /^(ace2|phe|pmm|xcrypt|xstore)(-en)?$/, because: 'it belongs to VIA processors' },
]

function featureNamed(spelling: string, spec: string): FeatureName {
  const feature: Feature | undefined = findFeature(spelling)
  if (feature === undefined) {
    const known = NOT_MODELLED.find((n) => n.pattern.test(spelling.replaceAll('_', '-')))
    if (known !== undefined) {
      throw new UserError({
        code: 'cpu-feature-not-modelled',
        what: `cannot set '${spelling}'`,
        where: `--cpu ${spec}`,
        because: known.because,
        fix: `leave ${spelling} out`,
      })
    }
    const nearest = nearestNames(spelling, [...features.keys(), ...Object.keys(featureAliases), ...PROPERTIES.keys()])
    throw new UserError({
      code: 'unknown-cpu-feature',
      what: `unknown CPU feature '${spelling}'`,
      where: `--cpu ${spec}`,
      because: 'no such feature or property',
      fix: suggestion(nearest, 'feature names are those of QEMU, for example amx-tile, avx512f, pku'),
      nearest,
    })
  }
  if (runtimeFeatures.has(feature.name)) {
    throw new UserError({
      code: 'cpu-feature-is-runtime',
      what: `cannot set '${feature.name}'`,
      where: `--cpu ${spec}`,
      because: 'the processor computes it from CR4 while it runs',
      fix: `set ${feature.name === 'osxsave' ? 'xsave' : 'pku'} instead`,
    })
  }
  return feature.name
}

const badItem = (spec: string, item: string, because: string, fix: string): UserError =>
  new UserError({ code: 'bad-cpu-item', what: `cannot read '${item}'`, where: `--cpu ${spec}`, because, fix })

/** QEMU's spellings of a truth value. */
function onOrOff(value: string, item: string, spec: string): boolean {
  if (['on', 'yes', 'true', 'y'].includes(value)) return true
  if (['off', 'no', 'false', 'n'].includes(value)) return false
  throw badItem(spec, item, `'${value}' is neither on nor off`, 'write feature=on or feature=off')
}

interface CpuProperty {
  read(value: string, item: string, spec: string): number | string
  apply(value: number | string): Partial<CpuModelFacts>
}

const whole =
  (least: number, most: number) =>
  (value: string, item: string, spec: string): number => {
    const n = /^(0x[0-9a-fA-F]+|[0-9]+)$/.test(value) ? Number(value) : Number.NaN
    if (n >= least && n <= most) return n
    throw badItem(spec, item, `'${value}' is not a number from ${least} to ${most}`, 'decimal or 0x… hexadecimal')
  }

/** Properties of QEMU's CPU models that are not feature bits. */
const PROPERTIES: ReadonlyMap<string, CpuProperty> = new Map<string, CpuProperty>([
  ['phys-bits', { read: whole(36, 52), apply: () => ({}) }],
  ['level', { read: whole(1, 0x7fffffff), apply: (n) => ({ maxBasicLeaf: n as number }) }],
  ['xlevel', { read: whole(0x80000000, 0xffffffff), apply: (n) => ({ maxExtendedLeaf: n as number }) }],
  ['stepping', { read: whole(0, 15), apply: (n) => ({ stepping: n as number }) }],
  ['tsc-frequency', { read: whole(1_000_000, 100_000_000_000), apply: (n) => ({ tscKhz: Math.round((n as number) / 1000) }) }],
  ['model-id', { read: (value) => value.slice(0, 47), apply: (text) => ({ brand: text as string }) }],
])
