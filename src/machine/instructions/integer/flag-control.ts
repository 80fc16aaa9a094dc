import { Register } from '../../decoder/iced-tables.ts'
import { RFLAGS_CF, RFLAGS_OF } from '../../flags.ts'
import { RFLAGS_REST } from '../../memory-map.ts'
import { define } from '../../translate/definitions.ts'
import { and, i32, or, sub, truncate, xor } from '../../translate/expr.ts'

const RFLAGS_DF = 0x400
/** SF ZF AF PF CF: what LAHF and SAHF move. */
const LOW_FLAGS = 0xd5

define('CLC', (s) => s.e.flags.replace(RFLAGS_CF, i32(0)))
define('STC', (s) => s.e.flags.replace(RFLAGS_CF, i32(RFLAGS_CF)))
define('CMC', (s) => s.e.flags.replace(RFLAGS_CF, s.e.let(xor(32, s.e.flags.carry(), i32(RFLAGS_CF)))))
define('CLD', (s) => s.e.setCtx32(RFLAGS_REST, and(32, s.e.ctx32(RFLAGS_REST), i32(~RFLAGS_DF))))
define('STD', (s) => s.e.setCtx32(RFLAGS_REST, or(32, s.e.ctx32(RFLAGS_REST), i32(RFLAGS_DF))))

define('LAHF', (s) => s.writeGpr(Register.AH, or(32, and(32, s.e.flags.all(), i32(LOW_FLAGS)), i32(2))))
define('SAHF', (s) => {
  const kept = and(32, s.e.flags.all(), i32(RFLAGS_OF))
  s.e.flags.fromBits(or(32, kept, and(32, s.readGpr(Register.AH), i32(LOW_FLAGS))))
})

/** Undocumented, all processors outside 64-bit mode: AL = CF ? FF : 00. */
define('SALC', (s) => s.writeGpr(Register.AL, truncate(8, sub(32, i32(0), s.e.flags.carry()))))
