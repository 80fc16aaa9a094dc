/** Every file of instruction definitions; importing this fills the table. */
import './control/branches.ts'
import './float/index.ts'
import './integer/index.ts'
import './system/index.ts'
import './vector/index.ts'
