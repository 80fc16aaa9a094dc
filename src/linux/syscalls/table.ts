import { setThreadArea } from '../segments/ldt.ts'
import { compatSigaction } from '../signal/compat-signals.ts'
import { descriptorCalls } from './descriptors.ts'
import { memoryCalls } from './memory.ts'
import { nameCalls } from './names.ts'
import { pollCalls } from './poll.ts'
import { processCalls } from './process.ts'
import { schedulingCalls } from './scheduling.ts'
import { signalCalls } from './signals.ts'
import { full, partial, type SyscallRow, type SyscallRows } from './support.ts'
import { absentCalls, systemCalls } from './system.ts'
import { timeCalls } from './time.ts'
import { transferCalls } from './transfer.ts'

export type { SyscallRow } from './support.ts'

/** Numbers of the 64-bit table (arch/x86/entry/syscalls/syscall_64.tbl). A number without row is ENOSYS, and counted. */
const rows64: SyscallRows = {
  ...transferCalls,
  ...descriptorCalls,
  ...nameCalls,
  ...memoryCalls,
  ...signalCalls,
  ...timeCalls,
  ...processCalls,
  ...schedulingCalls,
  ...systemCalls,
  ...pollCalls,
  ...absentCalls,
}

/** INT 0x80 (syscall_32.tbl): what LUX-12 needs, and calls whose arguments mean the same in both ABIs. */
const rows32: SyscallRows = {
  1: processCalls[60],
  4: transferCalls[1],
  3: transferCalls[0],
  6: descriptorCalls[3],
  20: processCalls[39],
  24: { ...processCalls[102], name: 'getuid16' },
  37: signalCalls[62],
  64: processCalls[110],
  67: {
    name: 'sigaction',
    args: 'sig ptr ptr',
    support: partial('32-bit handlers never run'),
    run: compatSigaction,
  },
  199: processCalls[102],
  200: processCalls[104],
  224: processCalls[186],
  243: { name: 'set_thread_area', args: 'ptr', support: full, run: (task, a) => setThreadArea(task, a.long(0)) },
  252: processCalls[231],
  270: signalCalls[234],
  384: processCalls[158],
}

function dense(rows: SyscallRows): (SyscallRow | undefined)[] {
  const table: (SyscallRow | undefined)[] = []
  for (const [nr, row] of Object.entries(rows)) table[Number(nr)] = row
  for (let i = 0; i < table.length; i++) table[i] ??= undefined
  return table
}

export const syscallTable: readonly (SyscallRow | undefined)[] = dense(rows64)
export const compatTable: readonly (SyscallRow | undefined)[] = dense(rows32)
