import { type Crowd, observeCrowd } from './contention.ts'
import { LOCKS } from './guest.ts'
import { type Ending, type Observed, observe, type Setting } from './observe.ts'
import { type Lost, type Reason, reasonsFor } from './reasons.ts'
import { type KernelClass, kernelClasses, MODES, PROCESSORS, settingsOf } from './situations.ts'

/** The same guest on every host on which the same comes of it. */
export interface WhyRow {
  readonly cpu: string
  readonly modes: readonly string[]
  /** Profiles, releases first. */
  readonly kernels: readonly string[]
  /** sysctl kernel.split_lock_mitigate; null: there is none, or it makes no difference. */
  readonly mitigate: boolean | null
  readonly guestDetects: boolean
  readonly busLockExit: boolean
  readonly ending: Ending
  /** Split locks completed, of `locks`. */
  readonly completed: number
  readonly locks: number
  /** #AC that the host took. */
  readonly traps: number
  readonly busLockExits: number
  /** Virtual time lost against split_lock_detect=off; null: the guest did not come to its end. */
  readonly lostMs: { readonly apart: number; readonly each: number; readonly burst: number } | null
  readonly signals: Observed['signals']
  readonly log: readonly string[]
  readonly reasons: readonly Reason[]
  /** Lost at each lock when several vCPUs do the same at the same time; where one loses anything. */
  readonly crowds: readonly { readonly vcpus: number; readonly eachMs: number }[]
}

export interface WhyOptions {
  /** Profile; default all that differ. */
  readonly kernel?: string
  readonly decoder: WebAssembly.Module
}

const CROWDS = [2, 4, 8]

/** A run and where it belongs. */
interface Cell {
  readonly setting: Setting
  readonly kernel: KernelClass
  readonly row: WhyRow
}

/**
 * "Why is my guest frozen?": runs one guest that takes split locks under each split_lock_detect=, kernel and processor that may
 * differ, and puts together what is the same. Yields before each run, with how many there are and were.
 *
 * @throws UserError for an unknown profile
 */
export function* whyInRuns({ kernel, decoder }: WhyOptions): Generator<{ done: number; of: number }, WhyRow[], void> {
  const classes = kernelClasses(kernel)
  const all = PROCESSORS.flatMap((cpu) =>
    MODES.flatMap((mode) => classes.flatMap((of) => settingsOf(of, cpu, mode).map((setting) => ({ setting, kernel: of })))),
  )
  const baselines = new Map<string, Observed>()
  const cells: Cell[] = []
  for (const { setting, kernel: of } of all) {
    yield { done: cells.length, of: all.length }
    const seen = observe(setting, decoder)
    const host = `${setting.cpu} ${setting.kernel}`
    // MODES begins with off, and settingsOf with the plain one.
    if (!baselines.has(host)) baselines.set(host, seen)
    cells.push({ setting, kernel: of, row: rowOf(setting, of, seen, baselines.get(host)!) })
  }
  const rows = merged(cells)
  return rows.map((row) => ({ ...row, crowds: crowdsOf(row, cells, decoder) }))
}

export function why(options: WhyOptions): WhyRow[] {
  const runs = whyInRuns(options)
  for (;;) {
    const step = runs.next()
    if (step.done === true) return step.value
  }
}

function rowOf(setting: Setting, { names }: KernelClass, seen: Observed, off: Observed): WhyRow {
  const lost = lostAgainst(off, seen)
  const { cpu, mode, mitigate, guestDetects, busLockExit } = setting
  const { ending, completed, traps, busLockExits, signals, log } = seen
  return {
    cpu,
    modes: [mode],
    kernels: names,
    mitigate,
    guestDetects,
    busLockExit,
    ending,
    completed,
    locks: 2 * LOCKS,
    traps,
    busLockExits,
    lostMs: lost === null ? null : { apart: lost.apart, each: lost.apart / LOCKS, burst: lost.burst },
    signals,
    log,
    reasons: reasonsFor(setting, seen, lost),
    crowds: [],
  }
}

/** To a tenth of a millisecond: the guest's own instructions are less than that. */
const milliseconds = (ns: number): number => Math.round(ns / 1e5) / 10

function lostAgainst(off: Observed, seen: Observed): Lost | null {
  if (seen.apart === null || seen.burst === null) return null
  return { apart: milliseconds(seen.apart - off.apart!), burst: milliseconds(seen.burst - off.burst!) }
}

/** Rows of which the same came are one: first whatever the sysctl says, then under several kernels, then in several modes. */
function merged(cells: readonly Cell[]): WhyRow[] {
  const rows = cells.map(({ setting, kernel, row }) => {
    const others = cells.filter(
      (c) => c.kernel === kernel && isSame({ ...c.setting, mitigate: null }, { ...setting, mitigate: null }),
    )
    const matters = others.some((other) => !isSame({ ...other.row, mitigate: row.mitigate }, row))
    return matters ? row : { ...row, mitigate: null }
  })
  const once = together(rows, () => ({}))
  const kernels = together(once, (a, b) => ({ kernels: [...a.kernels, ...b.kernels] }), 'kernels')
  return together(kernels, (a, b) => ({ modes: [...a.modes, ...b.modes] }), 'modes')
}

/** Merges rows that are the same but for `differing`. */
function together(rows: readonly WhyRow[], merge: (a: WhyRow, b: WhyRow) => Partial<WhyRow>, differing?: keyof WhyRow): WhyRow[] {
  const found: WhyRow[] = []
  for (const row of rows) {
    const at = found.findIndex((other) =>
      isSame(differing === undefined ? other : { ...other, [differing]: row[differing] }, row),
    )
    if (at < 0) found.push(row)
    else found[at] = { ...found[at], ...merge(found[at], row) }
  }
  return found
}

const isSame = (a: object, b: object): boolean => JSON.stringify(a) === JSON.stringify(b)

function crowdsOf(row: WhyRow, cells: readonly Cell[], decoder: WebAssembly.Module): WhyRow['crowds'] {
  if (row.lostMs === null || row.lostMs.apart <= 0 || row.busLockExit) return []
  const { setting } = cells.find(({ setting: { kernel, mode }, row: { lostMs } }) => {
    return row.kernels.includes(kernel) && row.modes.includes(mode) && isSame(lostMs ?? {}, row.lostMs!)
  })!
  return CROWDS.map((vcpus) => {
    const time = (mode: string): Crowd => observeCrowd({ ...setting, mode }, vcpus, decoder)
    return { vcpus, eachMs: milliseconds((time(setting.mode).apart - time('off').apart) / LOCKS) }
  })
}
