/** The decision tables of the rules as data. */

export const MODES = ['off', 'warn', 'fatal', 'ratelimit:10'] as const
export type Mode = (typeof MODES)[number]
export type Verdict = 'runs' | 'runs, the host warns' | '#AC' | 'SIGBUS'

/** A row for split locks: without and with the guest's own alignment check (CPL 3, CR0.AM, RFLAGS.AC). */
export interface Row {
  readonly mode: Mode
  /** MSR_IA32_CORE_CAPS[5] of the vCPU and its MSR_TEST_CTRL[29]; null where guests have neither. */
  readonly offered: boolean | null
  readonly detects: boolean | null
  readonly plain: Verdict
  readonly checked: Verdict
}
const row = (mode: Mode, offered: boolean | null, detects: boolean | null, plain: Verdict, checked: Verdict): Row => ({
  mode,
  offered,
  detects,
  plain,
  checked,
})

/** SLD-32: detection is the host's alone. */
export const HOST_ONLY = [
  row('off', null, null, 'runs', '#AC'),
  row('warn', null, null, 'runs, the host warns', '#AC'),
  row('fatal', null, null, 'SIGBUS', '#AC'),
  row('ratelimit:10', null, null, 'runs', '#AC'),
]

/** SLD-47. The series knew no ratelimit: there the bit is 0 (SLD-14) and is not switched (SLD-43), whatever the guest wants. */
export const VIRTUALIZED = [
  row('off', false, false, 'runs', '#AC'),
  row('warn', false, false, 'runs, the host warns', '#AC'),
  row('warn', true, false, 'runs', '#AC'),
  row('warn', true, true, '#AC', '#AC'),
  row('fatal', false, false, 'SIGBUS', '#AC'),
  row('fatal', true, false, 'SIGBUS', '#AC'),
  row('fatal', true, true, '#AC', '#AC'),
  row('ratelimit:10', false, false, 'runs', '#AC'),
  row('ratelimit:10', true, false, 'runs', '#AC'),
  row('ratelimit:10', true, true, 'runs', '#AC'),
]

/** One kernel of each kind: two profiles with the same answers to all questions of the subject behave the same. */
export const HOST_ONLY_KERNELS = ['linux-5.17', 'linux-6.1.0', 'linux-6.12', 'linux-6.18']
export const VIRTUALIZING_KERNELS = ['proposal:sld-virt-v8', 'proposal:sld-virt-v8-fixed', 'proposal:sld-virt-v10']
